"""The pages of people and projects that need no events."""

from django.urls import path

from projects.views.new_project import new_project
from projects.views.sign_in import SignIn, SignOut

urlpatterns = [
    path("sign-in", SignIn.as_view(), name="sign-in"),
    path("sign-out", SignOut.as_view(), name="sign-out"),
    path("projects/new", new_project, name="new-project"),
]
