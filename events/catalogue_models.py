"""What a project sends, as far as it is known: its event names, and the properties of each. See events/catalogue/."""

from django.db import models

from projects.models import Project


class CatalogueProject(models.Model):
    """A project's catalogue: since when it is kept, and what found no place in it."""

    project = models.OneToOneField(
        Project, on_delete=models.DO_NOTHING, db_constraint=False, primary_key=True, related_name="+"
    )
    began_at = models.DateTimeField(help_text="Receipt of the first event that was learned from.")
    more_events = models.BigIntegerField(db_default=0, help_text="Of names that found no place.")
    more_sketch = models.BinaryField(null=True, help_text="Of those names (HyperLogLog).")

    def __str__(self) -> str:
        return f"catalogue of {self.project_id}"


class CatalogueName(models.Model):
    """An event name of a project. Counts are of all its events, but `sampled`: of those its properties are known by."""

    project = models.ForeignKey(Project, on_delete=models.DO_NOTHING, db_constraint=False, related_name="+")
    name = models.CharField(max_length=200)
    events = models.BigIntegerField()
    sampled = models.BigIntegerField()
    first_at = models.DateTimeField(help_text="Of occurred_at.")
    last_at = models.DateTimeField()
    first_received_at = models.DateTimeField()
    last_received_at = models.DateTimeField()
    looked_at = models.DateTimeField(null=True, help_text="When a sample of its events was looked at.")
    days = models.JSONField(help_text="Events by UTC day of occurred_at, of the latest days only.")
    more_events = models.BigIntegerField(
        db_default=0, help_text="Occurrences of properties that found no place."
    )
    more_sketch = models.BinaryField(null=True, help_text="Of those properties' names (HyperLogLog).")

    class Meta:
        constraints = (models.UniqueConstraint(fields=["project", "name"], name="cataloguename_once"),)

    def __str__(self) -> str:
        return self.name


class CatalogueProperty(models.Model):
    """A property of a name's events, as far as they were sampled. Null is absent."""

    # Beside the name, so that a project's rows are found, and deleted, alike in every table.
    project = models.ForeignKey(Project, on_delete=models.DO_NOTHING, db_constraint=False, related_name="+")
    of_name = models.ForeignKey(
        CatalogueName, on_delete=models.DO_NOTHING, db_constraint=False, db_index=False, related_name="+"
    )
    key = models.CharField(max_length=200)
    events = models.BigIntegerField()
    types = models.JSONField(help_text="By type: how many, first and last receipt in µs.")
    first_at = models.DateTimeField(help_text="Of occurred_at.")
    last_at = models.DateTimeField()
    first_received_at = models.DateTimeField()
    last_received_at = models.DateTimeField()
    # Places in the row of its name's sampled events: how often it came is known for what lies between.
    from_sampled = models.BigIntegerField()
    to_sampled = models.BigIntegerField()
    sketch = models.BinaryField(help_text="Of its values (HyperLogLog).")
    values = models.JSONField(help_text="Frequent ones: text -> how often, at least.")
    has_all_values = models.BooleanField(help_text="No other values than these occurred.")
    example = models.CharField(max_length=100)

    class Meta:
        constraints = (models.UniqueConstraint(fields=["of_name", "key"], name="catalogueproperty_once"),)

    def __str__(self) -> str:
        return self.key
