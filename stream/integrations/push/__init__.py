"""Web Push: notifications on the phones and browsers of the page."""
