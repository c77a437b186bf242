"""Datasets: fetched as archives, prepared once into arrays that training reads."""
