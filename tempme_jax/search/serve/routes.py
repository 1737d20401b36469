"""The addresses of the search service, and the function that answers each.

Whatever reads files or computes runs in threads. Each kind of work has threads of its own, so
thumbnails and videos never wait for searches or for pictures of merged tokens, which take seconds.
"""

import os
from collections.abc import Callable
from functools import partial
from importlib import resources
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Query, Request
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.responses import Response

from tempme_jax.search.serve import posted, searching, videos
from tempme_jax.search.serve.guard import POSTED_TO
from tempme_jax.search.serve.media import Media, OpenFile
from tempme_jax.search.serve.parameters import (
    LONGEST_NAME,
    FileId,
    FilterParameters,
    Posted,
    SearchParameters,
    Second,
    Window,
)
from tempme_jax.search.serve.queues import Threads, get_visitor
from tempme_jax.search.serve.schemas import (
    FailuresAnswer,
    IndexedFolder,
    QueryAnswer,
    SearchAnswer,
    StatsAnswer,
    format_path,
)
from tempme_jax.search.serve.service import Service

PAGE = resources.files("tempme_jax.search.serve") / "page"
# Fixed, as `mimetypes` also reads what a system has registered.
PAGE_TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
KEEP_AN_HOUR = {"Cache-Control": "private, max-age=3600"}
VIDEO: dict[int | str, dict[str, Any]] = {200: {"content": {"video/*": {}}}}
MP4: dict[int | str, dict[str, Any]] = {200: {"content": {"video/mp4": {}}}}
JPEG: dict[int | str, dict[str, Any]] = {200: {"content": {"image/jpeg": {}}}}
PNG: dict[int | str, dict[str, Any]] = {200: {"content": {"image/png": {}}}}


async def get_service(request: Request) -> Service:
    """Return the service that `create_application` made for this application."""
    return request.app.state.service


async def find_visitor(request: Request) -> str:
    """Return the address that the request comes from."""
    return get_visitor(request.scope)


Visitor = Annotated[str, Depends(find_visitor)]
TheService = Annotated[Service, Depends(get_service)]

router = APIRouter()


@router.get("/api/search")
async def search(
    service: TheService, visitor: Visitor, asked: Annotated[SearchParameters, Query()]
) -> SearchAnswer:
    """Find the moments that a sentence, a picture, or both describe."""
    # What is judged by the matching head is decoded, which takes seconds.
    threads = service.merges if asked.rerank else service.searches
    return await threads.run(visitor, searching.search, service, asked)


@router.get("/api/similar/{window}")
async def similar(
    service: TheService,
    visitor: Visitor,
    window: Window,
    asked: Annotated[FilterParameters, Query()],
) -> SearchAnswer:
    """Find moments of other videos that look like a window."""
    return await service.searches.run(visitor, searching.search_similar, service, window, asked)


@router.post(POSTED_TO, status_code=201)
async def post_query(
    service: TheService,
    visitor: Visitor,
    request: Request,
    name: Annotated[str, Query(max_length=LONGEST_NAME, description="Name of the file.")] = "",
) -> QueryAnswer:
    """Take the bytes of a picture or a video, to search with; the body is the file itself."""
    media_type, shown = posted.check_head(request), format_path(name)
    with service.receivers.take():
        async with posted.receive(request) as file:
            given = (file, shown, media_type)
            number, found = await service.embedders.run(visitor, service.post, *given)
    return QueryAnswer(query=number, kind=found.kind, name=found.name)


@router.get("/query/{number}", response_class=Response, responses=JPEG)
async def query_picture(service: TheService, number: Posted) -> Response:
    """Send a small picture of a file that was posted, as JPEG."""
    return Response(service.posted.find(number).picture, media_type="image/jpeg")


@router.get("/api/folders")
async def folders(service: TheService, visitor: Visitor) -> list[IndexedFolder]:
    """List the folders that a search can be limited to."""
    paths = await service.thumbnails.run(visitor, service.read_folders)
    return [IndexedFolder(path=path) for path in paths]


@router.get("/api/stats")
async def stats(service: TheService, visitor: Visitor) -> StatsAnswer:
    """Count what is indexed."""
    return await service.thumbnails.run(visitor, service.read_stats)


@router.get("/api/failures")
async def failures(service: TheService, visitor: Visitor) -> FailuresAnswer:
    """List the files that could not be indexed, and why."""
    return await service.thumbnails.run(visitor, service.read_failures)


@router.get("/media/{file_id}", response_class=Response, responses=VIDEO)
async def media(service: TheService, file_id: FileId) -> Response:
    """Send a video, or one range of its bytes."""
    return make_media(service, partial(videos.open_video, service, file_id), service.readers)


@router.get("/preview/{file_id}", response_class=Response, responses=MP4)
async def preview(service: TheService, file_id: FileId, start: Second, end: Second) -> Response:
    """Send a part of a video, small, as every browser plays it; it is made the first time."""
    part = partial(videos.open_part, service, file_id, start, end, is_preview=True)
    return make_media(service, part, service.cutters)


@router.get("/clip/{file_id}", response_class=Response, responses=MP4)
async def clip(service: TheService, file_id: FileId, start: Second, end: Second) -> Response:
    """Send a part of a video as an mp4 file to save; it is made the first time."""
    part = partial(videos.open_part, service, file_id, start, end, is_preview=False)
    return make_media(service, part, service.cutters, "attachment")


def make_media(
    service: Service,
    open_file: Callable[[], OpenFile],
    openers: Threads,
    disposition: str = "inline",
) -> Media:
    """Make the answer that opens a file and sends it."""
    return Media(
        open_file, openers=openers, readers=service.readers, streams=service.streams,
        disposition=disposition,
    )  # fmt: skip


@router.get("/thumbnail/{window}", response_class=Response, responses=JPEG)
async def thumbnail(service: TheService, visitor: Visitor, window: Window) -> Response:
    """Send the middle frame of a window as JPEG."""
    content = await service.thumbnails.run(visitor, service.read_thumbnail, window)
    return Response(content, headers=KEEP_AN_HOUR, media_type="image/jpeg")


@router.get("/merged/{window}", response_class=Response, responses=PNG)
async def merged(service: TheService, visitor: Visitor, window: Window) -> Response:
    """Send a picture of the tokens that the model merged in a window, as PNG; it takes seconds."""
    content = await service.merges.run(visitor, service.draw_merged, window)
    return Response(content, headers=KEEP_AN_HOUR, media_type="image/png")


@router.get("/", include_in_schema=False)
async def start(request: Request) -> Response:
    """Send the search page."""
    return await page(request, "search.html")


@router.get("/page/{name}", include_in_schema=False)
async def page(request: Request, name: str) -> Response:
    """Send a file of the page."""
    files: dict[str, bytes] = request.app.state.page
    if name not in files:
        raise HTTPException(404)
    media_type = PAGE_TYPES.get(os.path.splitext(name)[1], "application/octet-stream")
    return Response(files[name], headers={"Cache-Control": "no-cache"}, media_type=media_type)


def add_routes(app: FastAPI) -> None:
    """Add all addresses to an application, for GET and for HEAD."""
    app.state.page = {file.name: file.read_bytes() for file in PAGE.iterdir() if file.is_file()}
    app.include_router(router)
    for route in router.routes:
        assert isinstance(route, APIRoute)
        if route.methods != {"GET"}:
            continue
        app.add_api_route(
            route.path,
            route.endpoint,
            methods=["HEAD"],
            response_class=route.response_class,
            include_in_schema=False,
        )
