"""Small models of each family with random weights as Hugging Face folders, and the reference for their embeddings."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import transformers
from threadpoolctl import threadpool_limits
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoModel, AutoTokenizer, PretrainedConfig, PreTrainedTokenizerFast

from recwire_server.model.texts import built_in_texts

MAX_TOKENS = 64
VOCABULARY_SIZE = 600
# Far larger than usual, so that a wrong position or a token too many moves an embedding by more than rounding.
WEIGHT_RANGE = 0.3


def make_tiny_model(family: str, folder: Path) -> Path:
    """Write a model of FAMILIES into the folder, and return it."""
    make_tokenizer, make_config = FAMILIES[family]
    tokenizer = make_tokenizer()
    tokenizer.save_pretrained(folder)
    torch.manual_seed(7)
    config = make_config(vocab_size=len(tokenizer), initializer_range=WEIGHT_RANGE)
    AutoModel.from_config(config).save_pretrained(folder)
    return folder


def reference_embeddings(folder: Path, texts: list[str], pooling: str) -> np.ndarray:
    """The embeddings with transformers and torch, each text alone, cut to MAX_TOKENS."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    return reference_of_sequences(
        folder, [tokenizer(t, truncation=True, max_length=MAX_TOKENS)["input_ids"] for t in texts], pooling
    )


def reference_of_sequences(folder: Path, sequences: list[list[int]], pooling: str) -> np.ndarray:
    """The embeddings of token ids with transformers and torch, each sequence alone."""
    model = AutoModel.from_pretrained(folder).eval()
    pool = {
        "mean": lambda tokens: tokens.mean(dim=0),
        "cls": lambda tokens: tokens[0],
        "lasttoken": lambda tokens: tokens[-1],
    }
    embeddings = []
    for sequence in sequences:
        # Threads that wait for each other cost more than so small a model.
        with torch.no_grad(), threadpool_limits(1):
            tokens = model(input_ids=torch.tensor([sequence])).last_hidden_state[0]
        embeddings.append(torch.nn.functional.normalize(pool[pooling](tokens), dim=0).numpy())
    return np.stack(embeddings)


def _bert_tokenizer() -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    _train(
        tokenizer, trainers.WordPieceTrainer(vocab_size=VOCABULARY_SIZE, special_tokens=special, show_progress=False)
    )
    return _wrapped(tokenizer, *special[2:4], pad_token="[PAD]", unk_token="[UNK]")


def _roberta_tokenizer() -> PreTrainedTokenizerFast:
    return _wrapped(_byte_level(["<s>", "<pad>", "</s>", "<unk>"]), "<s>", "</s>", pad_token="<pad>", unk_token="<unk>")


def _xlm_roberta_tokenizer() -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    tokenizer.decoder = decoders.Metaspace()
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    trainer = trainers.UnigramTrainer(
        vocab_size=VOCABULARY_SIZE, special_tokens=special, unk_token="<unk>", show_progress=False
    )
    _train(tokenizer, trainer)
    return _wrapped(tokenizer, "<s>", "</s>", pad_token="<pad>", unk_token="<unk>")


def _gpt2_tokenizer() -> PreTrainedTokenizerFast:
    end = "<|endoftext|>"
    return PreTrainedTokenizerFast(
        tokenizer_object=_byte_level([end]),
        bos_token=end,
        eos_token=end,
        model_max_length=MAX_TOKENS,
        model_input_names=["input_ids", "attention_mask"],  # GPT-2 would add a word's vector for a token type
    )


def _byte_level(special: list[str]) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    _train(
        tokenizer,
        trainers.BpeTrainer(
            vocab_size=VOCABULARY_SIZE, special_tokens=special, initial_alphabet=alphabet, show_progress=False
        ),
    )
    return tokenizer


def _train(tokenizer: Tokenizer, trainer: trainers.Trainer) -> None:
    tokenizer.train_from_iterator(built_in_texts()[:64], trainer)


def _wrapped(tokenizer: Tokenizer, start: str, end: str, **names: str) -> PreTrainedTokenizerFast:
    special = [(token, tokenizer.token_to_id(token)) for token in (start, end)]
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{start} $A {end}", special_tokens=special)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, cls_token=start, sep_token=end, model_max_length=MAX_TOKENS, **names
    )


def _config(kind: str, **family: object) -> Callable[..., PretrainedConfig]:
    def make(**common: object) -> PretrainedConfig:
        return getattr(transformers, kind)(**family, **common)

    return make


_SIZE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
# Two positions more than can be used, as in the published models.
_OFFSET = {**_SIZE, "max_position_embeddings": MAX_TOKENS + 2, "pad_token_id": 1}

FAMILIES: dict[str, tuple[Callable[[], PreTrainedTokenizerFast], Callable[..., PretrainedConfig]]] = {
    "bert": (_bert_tokenizer, _config("BertConfig", **_SIZE, max_position_embeddings=MAX_TOKENS)),
    "distilbert": (
        _bert_tokenizer,
        _config("DistilBertConfig", dim=32, n_layers=2, n_heads=4, hidden_dim=64, max_position_embeddings=MAX_TOKENS),
    ),
    "roberta": (_roberta_tokenizer, _config("RobertaConfig", **_OFFSET, type_vocab_size=1)),
    "xlm-roberta": (_xlm_roberta_tokenizer, _config("XLMRobertaConfig", **_OFFSET, type_vocab_size=1)),
    "mpnet": (_bert_tokenizer, _config("MPNetConfig", **_OFFSET)),
    "gpt2": (_gpt2_tokenizer, _config("GPT2Config", n_embd=32, n_layer=2, n_head=4, n_positions=MAX_TOKENS)),
}
