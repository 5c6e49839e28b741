"""Being here, this file puts the folder on the import path: any test may `from toys import ...`."""
