"""Your own videos: a folder with captions.csv (or captions.jsonl) in it.

    python -m tempme_jax.main --config=configs/folder.py:tempme --config.data.root=my_videos

captions.csv has the columns `file` and `caption` and a line for every caption; see data/README.md.
"""

from configs import common


def get_config(words: str = "tempme"):
    """Return settings with 12 frames, 32 words, and batches for small sets."""
    config = common.get_config(words)
    config.data.name = "folder"
    config.train.batch_size = 32
    config.train.batches = "distinct"
    return config
