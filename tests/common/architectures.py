"""Classifiers of many architectures, too small to know anything."""

import torch
import transformers
from transformers import Qwen2Tokenizer

SIZES = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "max_position_embeddings": 24,
}
ONE_GROUP = ("q", "k", "v", "post_attention", "intermediate", "output")
ARCHITECTURES = {
    "Bert": SIZES,
    "Roberta": SIZES,
    "DistilBert": {
        **{"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 16},
        "max_position_embeddings": 24,
    },
    "Deberta": SIZES,
    "DebertaV2": SIZES,
    "Albert": {**SIZES, "embedding_size": 8},
    "Electra": {**SIZES, "embedding_size": 8},
    "MPNet": SIZES,
    "Longformer": {**SIZES, "attention_window": 8},
    "BigBird": SIZES,
    "ConvBert": {**SIZES, "embedding_size": 8},
    "SqueezeBert": {
        **SIZES,
        "embedding_size": 16,
        **{f"{part}_groups": 1 for part in ONE_GROUP},
    },
    "XLM": {"emb_dim": 16, "n_layers": 2, "n_heads": 2, "max_position_embeddings": 24},
    "CTRL": {"n_embd": 16, "n_layer": 2, "n_head": 2, "dff": 16, "n_positions": 24},
    "GPT2": {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 24},
    "OPT": {**SIZES, "ffn_dim": 16, "word_embed_proj_dim": 16},
    "Llama": SIZES,
    "Mistral": {**SIZES, "num_key_value_heads": 1},
    "Qwen2": {**SIZES, "num_key_value_heads": 1},
    "Gemma2": {**SIZES, "num_key_value_heads": 1, "head_dim": 8},
    "GPTNeoX": SIZES,
    "Bloom": {"hidden_size": 16, "n_layer": 2, "n_head": 2},
    "ModernBert": SIZES,
    "XLNet": {"d_model": 16, "n_layer": 2, "n_head": 2, "d_inner": 16},
    "FNet": SIZES,
    "Bart": {
        **{"d_model": 16, "encoder_layers": 2, "decoder_layers": 2, "max_position_embeddings": 24},
        **{f"{part}_attention_heads": 2 for part in ("encoder", "decoder")},
        **{f"{part}_ffn_dim": 16 for part in ("encoder", "decoder")},
    },
    "T5": {"d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 2, "num_heads": 2},
}


def tiny(name, tokenizer, classes=3):
    """An untrained classifier whose answers differ from text to text."""
    config = getattr(transformers, f"{name}Config")(
        **ARCHITECTURES[name],
        vocab_size=len(tokenizer),
        num_labels=classes,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        decoder_start_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        model = getattr(transformers, f"{name}ForSequenceClassification")(config)
        for weight in model.parameters():
            if weight.dim() > 1:
                weight.normal_(0, 0.2)
    return model.eval()


def qwen_tokenizer(tokenizer):
    """Qwen's is read as byte pairs, whatever its file says. It marks neither begin nor end."""
    words = [word for word in tokenizer.get_vocab() if word.isalnum()]
    return Qwen2Tokenizer().train_new_from_iterator([" ".join(words), *words] * 3, vocab_size=400)
