"""The only place that knows DeepSpeed's private parts."""
