"""`analyze stages`: what each stage of a cascade gives."""
