"""The pages of people, projects and keys that need no events. What is around them is in eventsite/pages.py."""
