"""`cvd search`: many settings of one variant, chosen by validation; the test images are opened once, at the end."""
