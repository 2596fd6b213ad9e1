"""What the drivers report, turned into findings: one module per backend.

``findings`` knows the verdicts and builds the errors, ``sqlite``,
``postgresql`` and ``mysql`` read a driver's exception, and ``schema`` fills
in table, columns and key from the metadata. Nothing here imports a driver.
"""
