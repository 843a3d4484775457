"""The trainer: Lightning module, data, augmentation, recipes."""
