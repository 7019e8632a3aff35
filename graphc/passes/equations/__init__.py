"""The equations that passes are made of, by subject: data to be printed, counted and tested."""
