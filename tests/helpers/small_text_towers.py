"""Tiny text towers with tiny tokenisers, on disk in transformers' format."""

import json

import torch
from tokenizers import Tokenizer, models, trainers
from tokenizers.pre_tokenizers import ByteLevel
from transformers import (
    CLIPConfig,
    CLIPModel,
    CLIPTokenizer,
    Siglip2Config,
    Siglip2Model,
    Siglip2Tokenizer,
    SiglipConfig,
    SiglipModel,
    SiglipTokenizer,
    Tipsv2Config,
    Tipsv2Model,
    Tipsv2Tokenizer,
)

TEXT = "a photo of the tree's road in the city, small lakes, rivers, café roofs and buildings"
WORDS = TEXT.replace("'", " '").split(" ")
START, END = "<|startoftext|>", "<|endoftext|>"
SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
VISION = SMALL | {"intermediate_size": 64, "image_size": 32, "patch_size": 16}


def byte_symbols():
    """OpenAI's printable letters for the 256 bytes."""
    return sorted(ByteLevel.alphabet())


def trained_merges(suffix="</w>"):
    """Merges of letter pairs of ``WORDS``, the most frequent first."""
    tokenizer = Tokenizer(models.BPE(end_of_word_suffix=suffix))
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(vocab_size=140, end_of_word_suffix=suffix, show_progress=False)
    tokenizer.train_from_iterator([[word] for word in WORDS * 3], trainer)
    content = json.loads(tokenizer.to_str())["model"]
    return [tuple(pair) for pair in content["merges"]]


def clip_tokenizer(merges=None):
    """CLIP's tokeniser with few merges: bytes, bytes that end a word, merges, two marks."""
    merges = trained_merges() if merges is None else merges
    symbols = byte_symbols()
    tokens = [*symbols, *(f"{each}</w>" for each in symbols)]
    tokens += ["".join(pair) for pair in merges if "".join(pair) not in tokens]
    tokens += [START, END]
    vocab = {token: number for number, token in enumerate(dict.fromkeys(tokens))}
    return CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=77)


def _saved(model, tokenizer, folder, seed):
    """Write both with weights that depend on the seed."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.3, generator=generator)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def clip_folder(folder, seed=0, width=16):
    """A whole tiny CLIP, vision tower included."""
    tokenizer = clip_tokenizer()
    end = tokenizer.eos_token_id
    text = SMALL | {"intermediate_size": 64, "vocab_size": len(tokenizer), "eos_token_id": end}
    text |= {"bos_token_id": tokenizer.bos_token_id, "pad_token_id": end}
    config = CLIPConfig(text_config=text, vision_config=VISION, projection_dim=width)
    return _saved(CLIPModel(config), tokenizer, folder, seed)


def _words_vocabulary(first):
    letters = sorted(set("".join(WORDS)) | {"▁", "."})
    return {token: number for number, token in enumerate([*first, *letters])}


def siglip2_folder(folder, seed=0):
    """A whole tiny SigLIP 2."""
    tokenizer = Siglip2Tokenizer(
        vocab=_words_vocabulary(["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]), merges=[]
    )
    text = SMALL | {"intermediate_size": 64, "vocab_size": len(tokenizer), "projection_size": 32}
    config = Siglip2Config(text_config=text, vision_config=SMALL | {"intermediate_size": 64})
    return _saved(Siglip2Model(config), tokenizer, folder, seed)


def tipsv2_folder(folder, seed=0):
    """A whole tiny TIPSv2."""
    tokenizer = Tipsv2Tokenizer(vocab=_words_vocabulary(["<pad>", "<unk>"]), merges=[])
    text = SMALL | {"intermediate_size": 64, "vocab_size": len(tokenizer)}
    config = Tipsv2Config(text_config=text, vision_config=VISION)
    return _saved(Tipsv2Model(config), tokenizer, folder, seed)


def siglip_folder(folder, seed=0):
    """A whole tiny SigLIP, whose tokeniser is one of sentencepiece."""
    import sentencepiece

    folder.mkdir()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(WORDS * 3),
        model_prefix=str(folder / "spiece"),
        vocab_size=32,
        pad_id=3,
        minloglevel=2,
    )
    tokenizer = SiglipTokenizer(str(folder / "spiece.model"))
    text = SMALL | {"intermediate_size": 64, "vocab_size": 40, "projection_size": 32}
    config = SiglipConfig(text_config=text, vision_config=VISION)
    return _saved(SiglipModel(config), tokenizer, folder, seed)
