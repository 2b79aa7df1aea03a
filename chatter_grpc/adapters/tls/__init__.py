"""Certificates of encrypted connections, as files hold them."""
