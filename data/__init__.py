"""Process cards, detector cards and recipes, as files."""
