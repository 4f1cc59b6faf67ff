"""Whether learned augmentation pays: arms and controls on equal terms, without Ray."""
