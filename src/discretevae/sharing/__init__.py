"""A model for other people and programs: Hugging Face Hub, model card, ONNX."""
