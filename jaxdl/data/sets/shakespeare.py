"""Tiny Shakespeare: a million characters of plays (Karpathy 2015), TFDS `tiny_shakespeare`."""

from jaxdl.data.tfds import tfds


def shakespeare(split: str = 'train') -> str:
    """The text of a split: of 1,115,394 characters, 65 of them different, train has 90 %.

    split: as TFDS writes it: 'train', 'validation', 'test'. What nanoGPT calls its validation set,
        the last tenth, is 'validation+test'.
    """
    return ''.join(tfds('tiny_shakespeare', split).column('text'))
