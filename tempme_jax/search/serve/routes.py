"""The addresses of the search service, and the function that answers each.

Whatever reads files or computes runs in threads. Each kind of work has threads of its own, so
thumbnails and videos never wait for searches or for pictures of merged tokens, which take seconds.
"""

import os
from importlib import resources
from typing import Annotated

from fastapi import APIRouter, Depends, FastAPI, Path, Query, Request
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.responses import Response

from tempme_jax.search.serve.media import Media
from tempme_jax.search.serve.queues import get_visitor
from tempme_jax.search.serve.schemas import IndexedFolder, SearchAnswer, StatsAnswer
from tempme_jax.search.serve.service import Service

LONGEST_QUERY, LONGEST_FOLDER, MOST_SECONDS = 20_000, 10_000, 1e9
DEFAULT_COUNT, MOST_MOMENTS = 24, 200
PAGE = resources.files("tempme_jax.search.serve") / "page"
# Fixed, as `mimetypes` also reads what a system has registered.
PAGE_TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
KEEP_AN_HOUR = {"Cache-Control": "private, max-age=3600"}


async def get_service(request: Request) -> Service:
    """Return the service that `create_application` made for this application."""
    return request.app.state.service


async def find_visitor(request: Request) -> str:
    """Return the address that the request comes from."""
    return get_visitor(request.scope)


Visitor = Annotated[str, Depends(find_visitor)]
TheService = Annotated[Service, Depends(get_service)]
# Ids are checked here, before anything else sees them.
Window = Annotated[
    str,
    Path(
        pattern=r"^[0-9a-f]{1,64}-[0-9]{1,10}$", description="Id of a window, as search gives it."
    ),
]
FileId = Annotated[
    str, Path(pattern=r"^[0-9a-f]{1,64}$", description="Id of a video, as search gives it.")
]
Sentence = Annotated[str, Query(description="A sentence that describes what is to be seen.")]
Count = Annotated[int, Query(ge=1, le=MOST_MOMENTS, description="Most moments to return.")]
Folder = Annotated[
    str | None,
    Query(
        max_length=LONGEST_FOLDER, description="Only videos in this folder, one of /api/folders."
    ),
]
Seconds = Annotated[
    float | None,
    Query(ge=0, le=MOST_SECONDS, allow_inf_nan=False, description="Length of the whole video."),
]

router = APIRouter()


@router.get("/api/search")
async def search(
    service: TheService,
    visitor: Visitor,
    q: Sentence = "",
    k: Count = DEFAULT_COUNT,
    folder: Folder = None,
    min_seconds: Seconds = None,
    max_seconds: Seconds = None,
) -> SearchAnswer:
    """Find the moments that a sentence describes."""
    if not q.strip():
        raise HTTPException(422, "there is nothing to search for: describe what is to be seen")
    if len(q) > LONGEST_QUERY:
        raise HTTPException(
            422, f"the text has {len(q)} characters; at most {LONGEST_QUERY} are read"
        )
    if min_seconds is not None and max_seconds is not None and min_seconds > max_seconds:
        raise HTTPException(
            422, f"min_seconds={min_seconds} is more than max_seconds={max_seconds}"
        )
    service.look_for_changes()
    wanted = q, k, folder, min_seconds, max_seconds
    return await service.searches.run(visitor, service.search, *wanted)


@router.get("/api/similar/{window}")
async def similar(
    service: TheService, visitor: Visitor, window: Window, k: Count = DEFAULT_COUNT
) -> SearchAnswer:
    """Find moments of other videos that look like a window."""
    service.look_for_changes()
    return await service.searches.run(visitor, service.search_similar, window, k)


@router.get("/api/folders")
async def folders(service: TheService, visitor: Visitor) -> list[IndexedFolder]:
    """List the folders that a search can be limited to."""
    service.look_for_changes()
    paths = await service.thumbnails.run(visitor, service.read_folders)
    return [IndexedFolder(path=path) for path in paths]


@router.get("/api/stats")
async def stats(service: TheService, visitor: Visitor) -> StatsAnswer:
    """Count what is indexed."""
    service.look_for_changes()
    return await service.thumbnails.run(visitor, service.read_stats)


@router.get(
    "/media/{file_id}", response_class=Response, responses={200: {"content": {"video/*": {}}}}
)
async def media(service: TheService, file_id: FileId) -> Response:
    """Send a video, or one range of its bytes."""
    return Media(service.find_file, file_id, service.readers, service.streams)


@router.get(
    "/thumbnail/{window}",
    response_class=Response,
    responses={200: {"content": {"image/jpeg": {}}}},
)
async def thumbnail(service: TheService, visitor: Visitor, window: Window) -> Response:
    """Send the middle frame of a window as JPEG."""
    content = await service.thumbnails.run(visitor, service.read_thumbnail, window)
    return Response(content, headers=KEEP_AN_HOUR, media_type="image/jpeg")


@router.get(
    "/merged/{window}", response_class=Response, responses={200: {"content": {"image/png": {}}}}
)
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
        app.add_api_route(
            route.path,
            route.endpoint,
            methods=["HEAD"],
            response_class=route.response_class,
            include_in_schema=False,
        )
