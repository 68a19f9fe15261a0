"""The catalogue's tables; and the index by which a person without a user id is found, built while rows are stored."""

import django.db.models.deletion
from django.db import migrations, models

INDEX = "events_event_anonymous"
OF = "(anonymous_id, occurred_at) WHERE user_id IS NULL AND anonymous_id IS NOT NULL"


def index_persons(apps, schema_editor):
    """Partition by partition, without a lock that the store would wait for; a second run goes on where a first one broke off."""
    with schema_editor.connection.cursor() as cursor:
        cursor.execute(f"CREATE INDEX IF NOT EXISTS {INDEX} ON ONLY events_event {OF}")
        cursor.execute(
            "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid"
            " WHERE i.inhparent = 'events_event'::regclass AND NOT EXISTS ("
            "  SELECT FROM pg_index x JOIN pg_inherits p ON p.inhrelid = x.indexrelid"
            "  WHERE x.indrelid = c.oid AND p.inhparent = %s::regclass)",
            [INDEX],
        )
        for (leaf,) in cursor.fetchall():
            cursor.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {leaf}_anonymous")  # half built
            cursor.execute(f"CREATE INDEX CONCURRENTLY {leaf}_anonymous ON {leaf} {OF}")
            cursor.execute(f"ALTER INDEX {INDEX} ATTACH PARTITION {leaf}_anonymous")


def drop_index(apps, schema_editor):
    schema_editor.execute(f"DROP INDEX IF EXISTS {INDEX}")


class Migration(migrations.Migration):
    atomic = False  # CONCURRENTLY; the index goes first, for it can be tried again

    dependencies = [
        ("events", "0007_lake"),
        ("projects", "0003_key_origins"),
    ]

    operations = [
        migrations.RunPython(index_persons, drop_index),
        migrations.CreateModel(
            name="CatalogueProject",
            fields=[
                (
                    "project",
                    models.OneToOneField(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        primary_key=True,
                        related_name="+",
                        serialize=False,
                        to="projects.project",
                    ),
                ),
                (
                    "began_at",
                    models.DateTimeField(help_text="Receipt of the first event that was learned from."),
                ),
                (
                    "more_events",
                    models.BigIntegerField(db_default=0, help_text="Of names that found no place."),
                ),
                ("more_sketch", models.BinaryField(help_text="Of those names (HyperLogLog).", null=True)),
            ],
        ),
        migrations.CreateModel(
            name="CatalogueName",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("name", models.CharField(max_length=200)),
                ("events", models.BigIntegerField()),
                ("sampled", models.BigIntegerField()),
                ("first_at", models.DateTimeField(help_text="Of occurred_at.")),
                ("last_at", models.DateTimeField()),
                ("first_received_at", models.DateTimeField()),
                ("last_received_at", models.DateTimeField()),
                (
                    "looked_at",
                    models.DateTimeField(null=True, help_text="When a sample of its events was looked at."),
                ),
                (
                    "days",
                    models.JSONField(help_text="Events by UTC day of occurred_at, of the latest days only."),
                ),
                (
                    "more_events",
                    models.BigIntegerField(
                        db_default=0, help_text="Occurrences of properties that found no place."
                    ),
                ),
                (
                    "more_sketch",
                    models.BinaryField(help_text="Of those properties' names (HyperLogLog).", null=True),
                ),
                (
                    "project",
                    models.ForeignKey(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="projects.project",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="CatalogueProperty",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("key", models.CharField(max_length=200)),
                ("events", models.BigIntegerField()),
                ("types", models.JSONField(help_text="By type: how many, first and last receipt in µs.")),
                ("first_at", models.DateTimeField(help_text="Of occurred_at.")),
                ("last_at", models.DateTimeField()),
                ("first_received_at", models.DateTimeField()),
                ("last_received_at", models.DateTimeField()),
                ("from_sampled", models.BigIntegerField()),
                ("to_sampled", models.BigIntegerField()),
                ("sketch", models.BinaryField(help_text="Of its values (HyperLogLog).")),
                ("values", models.JSONField(help_text="Frequent ones: text -> how often, at least.")),
                ("has_all_values", models.BooleanField(help_text="No other values than these occurred.")),
                ("example", models.CharField(max_length=100)),
                (
                    "of_name",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="events.cataloguename",
                    ),
                ),
                (
                    "project",
                    models.ForeignKey(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="projects.project",
                    ),
                ),
            ],
        ),
        migrations.AddConstraint(
            model_name="cataloguename",
            constraint=models.UniqueConstraint(fields=("project", "name"), name="cataloguename_once"),
        ),
        migrations.AddConstraint(
            model_name="catalogueproperty",
            constraint=models.UniqueConstraint(fields=("of_name", "key"), name="catalogueproperty_once"),
        ),
    ]
