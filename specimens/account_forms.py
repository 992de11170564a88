"""Forms of sign-in and accounts. Whoever guesses a password in any of them is counted."""

from typing import Any

from django import forms
from django.contrib.auth.forms import AuthenticationForm, PasswordChangeForm
from django.core.exceptions import ValidationError
from django.http import HttpRequest

from specimens.models import User
from specimens.services.guessing import check_password, confirm_password


class SignInForm(AuthenticationForm):
    """User name and password; LockedOut goes through to the view."""

    def clean(self) -> dict[str, Any]:
        """Look at the password, if this address may still try."""
        username = self.cleaned_data.get("username")
        password = self.cleaned_data.get("password")
        if username and password and self.request is not None:
            self.user_cache = check_password(
                request=self.request, username=username, password=password, step="password"
            )
            if self.user_cache is None:
                raise self.get_invalid_login_error()
            self.confirm_login_allowed(self.user_cache)
        return self.cleaned_data


class CodeForm(forms.Form):
    """A code of the authenticator app, or a recovery code."""

    code = forms.CharField(
        max_length=20,
        strip=True,
        widget=forms.TextInput(
            attrs={"autocomplete": "one-time-code", "autocapitalize": "none", "spellcheck": "false"}
        ),
    )


class _WithPassword(forms.Form):
    """Asks who is signed in for the password again."""

    password = forms.CharField(
        label="Your password",
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "current-password"}),
    )

    def __init__(self, request: HttpRequest, actor: User, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._request, self._actor = request, actor

    def clean_password(self) -> str:
        """Refuse any but the right one; LockedOut goes through to the view."""
        password: str = self.cleaned_data["password"]
        if not confirm_password(
            request=self._request, actor=self._actor, password=password, step="second factor set-up"
        ):
            raise ValidationError("The password is not right. Nothing was changed.")
        return password


class EnrolmentForm(_WithPassword):
    """The first code of a new authenticator app."""

    field_order = ("code", "password")
    code = forms.CharField(
        label="Code that the app shows now",
        max_length=12,
        widget=forms.TextInput(attrs={"autocomplete": "one-time-code", "inputmode": "numeric"}),
    )


class RenewCodesForm(_WithPassword):
    """New recovery codes in place of the old ones."""


class OwnPasswordForm(PasswordChangeForm):
    """A new password for oneself."""

    request: HttpRequest

    def clean_old_password(self) -> str:
        """Refuse any but the right one; LockedOut goes through to the view."""
        old: str = self.cleaned_data["old_password"]
        if not confirm_password(
            request=self.request, actor=self.user, password=old, step="password change"
        ):
            raise ValidationError(
                self.error_messages["password_incorrect"], code="password_incorrect"
            )
        return old
