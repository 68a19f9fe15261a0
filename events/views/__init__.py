"""The pages that show events and what became of them. Each file is a page; what is around them is in eventsite/pages.py."""
