"""The paper's ablations: variants of a recipe, trained and measured side by side."""
