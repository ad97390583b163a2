"""params.yaml as frozen, validated objects: sections, variants, and what each variant follows from."""
