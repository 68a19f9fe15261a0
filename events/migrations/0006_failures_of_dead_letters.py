from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("events", "0005_pipeline_page")]

    operations = [
        migrations.AddField(
            model_name="deadletter",
            name="failures",
            field=models.JSONField(
                db_default=models.Value([], models.JSONField()),
                help_text="Every attempt that failed, the earliest first: at, sqlstate, error.",
            ),
        ),
    ]
