"""Models as the transformers library saves them, from a folder or from the hub.

    model = read('bert-folder')            # config.json, model.safetensors, vocab.txt
    hidden, pooled = model.module.apply(model.variables, tokens, lengths)

Of a model with a head another one can be read that is a part of it, ``read(name, arch='bert')``.
"""

import re
from collections.abc import Mapping, Set
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import numpy as np

from jaxdl import interop
from jaxdl.errors import UsageError, nearest
from jaxdl.files import read_json
from jaxdl.interop.files import read_arrays
from jaxdl.interop.language import ACTIVATIONS

LAYOUT = 'hf'
CONFIG, WHOLE, INDEX = 'config.json', 'model.safetensors', 'model.safetensors.index.json'
TOKENIZER = (
    'tokenizer.json',
    'tokenizer_config.json',
    'vocab.txt',
    'vocab.json',
    'merges.txt',
    'source.spm',
    'target.spm',
)
# Other names of the functions of ACTIVATIONS.
SYNONYMS = {'gelu_pytorch_tanh': 'gelu_new', 'gelu_fast': 'gelu_new', 'swish': 'silu'}


class Pretrained(NamedTuple):
    """A network of ours with the weights of a model, and the files of its tokenizer.

    arch, config: what `interop.build` made the module of, in the layout 'hf'.
    """

    module: nn.Module
    variables: dict[str, Any]
    tokenizer: tuple[Path, ...]
    arch: str
    config: dict[str, Any]


class Family(NamedTuple):
    """How a family of models is configured there.

    prefix: of the tensors of the part that all models of the family have.
    options: our options by what they are called in config.json; several must be equal.
    fixed: what must be so, if config.json says it.
    """

    prefix: str
    options: Mapping[str, tuple[str, ...]]
    fixed: Mapping[str, Any] = {}


BERT = Family(
    'bert.',
    {
        'vocabulary': ('vocab_size',),
        'context': ('max_position_embeddings',),
        'sentences': ('type_vocab_size',),
        'width': ('hidden_size',),
        'depth': ('num_hidden_layers',),
        'heads': ('num_attention_heads',),
        'mlp': ('intermediate_size',),
        'activation': ('hidden_act',),
        'epsilon': ('layer_norm_eps',),
    },
    {'position_embedding_type': 'absolute', 'is_decoder': False, 'add_cross_attention': False},
)
GPT2 = Family(
    'transformer.',
    {
        'vocabulary': ('vocab_size',),
        'context': ('n_positions',),
        'width': ('n_embd',),
        'depth': ('n_layer',),
        'heads': ('n_head',),
        'mlp': ('n_inner',),
        'activation': ('activation_function',),
        'epsilon': ('layer_norm_epsilon',),
    },
    {
        'scale_attn_weights': True,
        'scale_attn_by_inverse_layer_idx': False,
        'add_cross_attention': False,
    },
)
VIT = Family(
    'vit.',
    {
        'image': ('image_size',),
        'patch': ('patch_size',),
        'width': ('hidden_size',),
        'depth': ('num_hidden_layers',),
        'heads': ('num_attention_heads',),
        'mlp': ('intermediate_size',),
        'epsilon': ('layer_norm_eps',),
    },
    {'hidden_act': 'gelu', 'num_channels': 3, 'qkv_bias': True},
)
MARIAN = Family(
    'model.',
    {
        'vocabulary': ('vocab_size', 'decoder_vocab_size'),
        'context': ('max_position_embeddings',),
        'width': ('d_model',),
        'depth': ('encoder_layers', 'decoder_layers'),
        'heads': ('encoder_attention_heads', 'decoder_attention_heads'),
        'mlp': ('encoder_ffn_dim', 'decoder_ffn_dim'),
        'activation': ('activation_function',),
    },
    {
        'scale_embedding': True,
        'share_encoder_decoder_embeddings': True,
        'normalize_before': False,
    },
)
FAMILIES: Mapping[str, Family] = {
    **dict.fromkeys(
        ('bert', 'bert_pretraining', 'bert_sequence', 'bert_tokens', 'bert_span'), BERT
    ),
    'gpt2': GPT2,
    'vit_b_16': VIT,
    'transformer': MARIAN,
}
ARCHITECTURES: Mapping[str, str] = {
    'BertModel': 'bert',
    'BertForPreTraining': 'bert_pretraining',
    'BertForSequenceClassification': 'bert_sequence',
    'BertForTokenClassification': 'bert_tokens',
    'BertForQuestionAnswering': 'bert_span',
    'GPT2LMHeadModel': 'gpt2',
    'ViTForImageClassification': 'vit_b_16',  # of any size: its options are all in config.json
    'MarianMTModel': 'transformer',
}


def read(name: Path | str, *, arch: str | None = None, strict: bool = True) -> Pretrained:
    """The model in a folder that `save_pretrained` wrote, or of that name on the hub.

    arch: what it is read as; None: what config.json says it is.
    strict: tensors that the network has no place for are an error.
    Raises UsageError for a folder or a name there is not, for an architecture or a setting that no
    network here has, and for tensors that do not fit.
    """
    folder = _folder(str(name))
    said = _json(folder / CONFIG)
    arch = _arch(folder, said, arch)
    family = FAMILIES[arch]
    config = _options(folder / CONFIG, said, family)
    tensors = _tensors(folder, said)
    tensors = {_today(name): tensor for name, tensor in tensors.items()}
    if 'classes' in interop.options(arch, LAYOUT) and 'classifier.bias' in tensors:
        config['classes'] = len(tensors['classifier.bias'])
    tied = interop.reference(arch, LAYOUT, config).tied
    names = {*interop.tensors(arch, LAYOUT, **config), *tied}
    tensors = _placed(tensors, names, family.prefix)
    variables = interop.from_state_dict(arch, LAYOUT, tensors, strict=strict, **config)
    files = tuple(folder / file for file in TOKENIZER if (folder / file).is_file())
    return Pretrained(interop.build(arch, LAYOUT, **config), variables, files, arch, config)


def _folder(name: str) -> Path:
    """The folder of that name; of a model on the hub the one it is fetched into."""
    folder = Path(name).expanduser()
    if folder.is_dir():
        if (folder / CONFIG).is_file():
            return folder
        raise UsageError(f'{folder} has no {CONFIG}: it is no model that transformers saved')
    if not re.fullmatch(r'[\w-][\w.-]*(/[\w-][\w.-]*)?', name):
        raise UsageError(f'no folder {name!r}, and no name of a model on the hub')
    by_hand = f'`hf download {name} --local-dir FOLDER`, and take the folder'
    try:
        import huggingface_hub
    except ModuleNotFoundError as error:
        raise UsageError(
            f"no folder {name!r}; to read from the hub, pip install 'jaxdl[hf]', or elsewhere "
            f'{by_hand}'
        ) from error
    patterns = [CONFIG, 'model*.safetensors', INDEX, *TOKENIZER]
    try:
        return Path(huggingface_hub.snapshot_download(name, allow_patterns=patterns))
    except Exception as error:  # of many kinds: no network, no such model, no permission
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UsageError(
            f'no folder {name!r}, and the hub does not give it: {reason}; where it does, {by_hand}'
        ) from error


def _json(path: Path) -> Any:
    return read_json(path, sealed=False, remedy='fetch it again')


def _arch(folder: Path, said: Any, arch: str | None) -> str:
    if not isinstance(said, dict):
        raise UsageError(f'{folder / CONFIG} holds no settings by name')
    if arch is not None:
        if arch not in FAMILIES:
            raise UsageError(
                f'--arch: no model of the hub is read as {arch!r}{nearest(arch, FAMILIES)}'
            )
        return arch
    names = said.get('architectures')
    if not isinstance(names, list) or len(names) != 1:
        raise UsageError(f'{folder / CONFIG} does not say one architecture; say --arch')
    if names[0] not in ARCHITECTURES:
        raise UsageError(
            f'{folder / CONFIG}: there is no counterpart of {names[0]!r} here; say --arch for a '
            f'part of it that has one{nearest(str(names[0]), ARCHITECTURES)}'
        )
    return ARCHITECTURES[names[0]]


def _options(path: Path, said: Mapping[str, Any], family: Family) -> dict[str, Any]:
    """Our options from config.json. Raises UsageError for what no network here has."""
    for key, value in family.fixed.items():
        if said.get(key, value) != value:
            raise UsageError(f'{path}: {key} is {said[key]!r}; here it is {value!r} alone')
    found = {}
    for option, keys in family.options.items():
        values = {key: said[key] for key in keys if said.get(key) is not None}
        if not values:
            continue
        key, value = next(iter(values.items()))
        for other in values:
            if values[other] != value:
                raise UsageError(
                    f'{path}: {key} is {value!r} and {other} is {values[other]!r}; here they are '
                    'the same'
                )
        found[option] = _checked(path, key, option, value)
    return found


def _checked(path: Path, key: str, option: str, value: Any) -> Any:
    if option == 'activation':
        name = SYNONYMS.get(value, value) if isinstance(value, str) else str(value)
        if name not in ACTIVATIONS:
            raise UsageError(f'{path}: no {key} {name!r}{nearest(name, ACTIVATIONS)}')
        return name
    kinds = (int, float) if option == 'epsilon' else (int,)
    if not isinstance(value, kinds) or isinstance(value, bool) or value <= 0:
        raise UsageError(f'{path}: {key} is {value!r}; it must be a positive number')
    return value


def _tensors(folder: Path, said: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The tensors of a folder by name, from one file or from several."""
    if (folder / WHOLE).is_file():
        return read_arrays(folder / WHOLE)
    if (folder / INDEX).is_file():
        return _of_shards(folder)
    if list(folder.glob('pytorch_model*.bin')):
        kind = (said.get('architectures') or ['AutoModel'])[0]
        program = (
            f"import transformers as t; t.{kind}.from_pretrained('{folder}')"
            f".save_pretrained('{folder}')"
        )
        raise UsageError(
            f'{folder} has files of PyTorch, which are not read here; where transformers is: '
            f'python -c "{program}"'
        )
    raise UsageError(f'{folder} has no {WHOLE}, and no {INDEX}')


def _today(name: str) -> str:
    """A tensor's name; in the oldest files norms have the words of TensorFlow."""
    return re.sub(r'\.gamma$', '.weight', re.sub(r'\.beta$', '.bias', name))


def _of_shards(folder: Path) -> dict[str, np.ndarray]:
    index = _json(folder / INDEX)
    files = index.get('weight_map') if isinstance(index, dict) else None
    if not isinstance(files, dict) or not files:
        raise UsageError(f'{folder / INDEX} does not say which file holds which tensor')
    found: dict[str, np.ndarray] = {}
    for file in sorted(set(map(str, files.values()))):
        if Path(file).name != file:
            raise UsageError(f'{folder / INDEX}: {file!r} is no file beside it')
        found |= read_arrays(folder / file)
    for name, file in files.items():
        if name not in found:
            raise UsageError(f'{folder / file} has no tensor {name!r}, which {INDEX} says it has')
    return found


def _placed(
    tensors: Mapping[str, np.ndarray], names: Set[str], prefix: str
) -> dict[str, np.ndarray]:
    """Tensors by the names that the network has them under.

    What all models of a family have stands under a prefix in those with a head, and without it in
    the one that is nothing else; of the former the latter takes that part.
    """
    inside = any(name.startswith(prefix) for name in tensors)
    wanted = any(name.startswith(prefix) for name in names)
    if inside and not wanted:
        return {n.removeprefix(prefix): x for n, x in tensors.items() if n.startswith(prefix)}
    if wanted and not inside:
        return {n if n in names else f'{prefix}{n}': x for n, x in tensors.items()}
    return dict(tensors)
