"""The equations that passes are made of, by subject. Each list is data: printed, counted, tested."""
