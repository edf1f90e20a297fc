"""The studio: the same server for those who prefer forms to keys, as a Gradio app."""
