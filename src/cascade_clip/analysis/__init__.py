"""The paper's analyses and ablations, to be measured again on any CLIP and any data."""
