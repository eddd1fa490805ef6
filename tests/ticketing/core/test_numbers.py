import pytest

from ticketing.core.numbers import check_digit, parse, ticket_number


def test_the_published_example_of_the_check_digit():
    assert check_digit("572") == 4  # Damm 2004


def test_a_number_reads_back():
    number = ticket_number(1001)
    assert number.startswith("DZ-1001")
    digits = number.removeprefix("DZ-")
    for spoken in (number, number.lower(), f"#{digits}", f"dz {digits}", f" {digits} ", f"DZ{digits}"):
        assert parse(spoken) == number


def test_wrong_digits_and_swapped_neighbours_are_caught():
    digits = ticket_number(48_203).removeprefix("DZ-")
    for at in range(len(digits)):
        for wrong in "0123456789":
            if wrong != digits[at]:
                assert parse(digits[:at] + wrong + digits[at + 1 :]) is None
    for at in range(len(digits) - 1):
        if digits[at] != digits[at + 1]:
            assert parse(digits[:at] + digits[at + 1] + digits[at] + digits[at + 2 :]) is None


@pytest.mark.parametrize("text", ["", "DZ-", "truck 12", "DZ-１００１", "9" * 40])
def test_other_text_is_no_number(text):
    assert parse(text) is None
