"""MSRVTT-QA with UMT-B/16: 243,000 questions, answers chosen from a list of 1,500 (Table 7).

    tempme convert b16_25m.pth b16_25m.safetensors
    python -m tempme_jax.main --config=configs/umt_msrvtt_qa.py:umt4clip+tempme

The words are those of configs/umt_msrvtt.py; data/README.md says where the data come from. UMT
selects its checkpoint on the test split once every epoch; to do the same, add
--config.evaluate.select_on=test
"""

from configs import common


def get_config(words: str = "umt4clip+tempme"):
    """Return UMT's settings: 12 frames, 25 ids of a question."""
    config = common.get_umt_config(words)
    config.data.name = "msrvtt_qa"
    config.data.variant = "json"

    config.model.architecture.backbone = "umt-qa"
    config.model.max_words = 25

    config.train.epochs = 8
    config.train.warmup = 1 / 8  # the first epoch
    config.train.learning_rate = 2e-5
    config.train.evaluate_every = 600  # about an epoch
    config.train.checkpoint_every = 600
    config.evaluate.rerank = 0
    config.evaluate.batch_size = 8  # videos; the candidates of a question of each fit into memory
    return config
