"""Annotation files as people have them, and the videos that a data set lists from them."""

import json

from tempme_jax.datasets import DATASETS
from tempme_jax.datasets.base import Storage


def write(root, files):
    """Write files of text or bytes, objects as JSON, and lists of objects as lines of JSON."""
    for name, content in files.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith("jsonl") and isinstance(content, list):
            content = "\n".join(map(json.dumps, content))
        elif not isinstance(content, str | bytes):
            content = json.dumps(content)
        file.write_bytes(content.encode() if isinstance(content, str) else content)
    return root


def list_videos(name, root, split, variant=None):
    kind = DATASETS[name]
    config = Storage(variant=variant or kind.VARIANTS[0])
    return kind(data_dir=root / "prepared", root=root, config=config).list_videos(split)


def make_msrvtt_files(trained_on=30):
    said = [
        {"caption": f" take {take} of {number} ", "video_id": f"video{number}", "sen_id": 0}
        for take in range(2)
        for number in range(trained_on + 5)
    ]
    ids = "".join(f"video{number}\r\n" for number in range(trained_on))
    return {
        "annotations/MSRVTT_train.9k.csv": "video_id\r\n" + ids,
        "annotations/MSRVTT_train.7k.csv": "video_id\nvideo1\nvideo2\n",
        "annotations/MSRVTT_data.json": {"videos": [], "sentences": said},
        "annotations/MSRVTT_JSFUSION_test.csv": "key,vid_key,video_id,sentence\n"
        'ret0,msr9770,video9770,a man is playing\nret1,msr7020,video7020,"a man, a dog"\n',
        "videos/all/video9770.mp4": "",
        "videos/all/video1.mp4": "",
        "videos/.trash/video7020.mp4": "",
        "videos/all/._video9770.mp4": "",
    }
