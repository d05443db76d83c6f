"""What Prometheus and people see: routes, and the server under them."""
