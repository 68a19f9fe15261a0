"""How lists under /api/ are paged."""

from rest_framework.pagination import LimitOffsetPagination


class Pagination(LimitOffsetPagination):
    """`?limit=` and `?offset=`, 100 unless asked, at most 1,000."""

    default_limit = 100
    max_limit = 1_000
