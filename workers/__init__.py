"""Edge that joins the service with the numerics: Celery tasks, row sources, input encoders."""
