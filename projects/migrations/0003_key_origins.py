import django.contrib.postgres.fields
from django.db import migrations, models

import projects.origins


class Migration(migrations.Migration):
    dependencies = [
        ("projects", "0002_quotas"),
    ]

    operations = [
        migrations.AddField(
            model_name="apikey",
            name="allowed_origins",
            field=django.contrib.postgres.fields.ArrayField(
                base_field=models.CharField(max_length=255, validators=[projects.origins.validate_origin]),
                blank=True,
                default=list,
                help_text="Origins whose pages may send with this key, like https://shop.example.com. Empty: any.",
                size=100,
            ),
        ),
    ]
