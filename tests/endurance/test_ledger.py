"""The judge itself: what it lets pass and what it does not. Run by `python3 -m unittest` in this folder."""

import time
import unittest

from content import Pool
from ledger import Ledger


class At:
    """Stands for a reply."""

    def __init__(self, start, end):
        self.start, self.end = start, end


class LedgerTest(unittest.TestCase):
    def setUp(self):
        self.pool = Pool("test", layers=12, images=6, indexes=3, artifacts=6)
        self.ledger = Ledger(self.pool, lease=5.0)
        self.now = time.monotonic()
        self.image, self.other = self.pool.images[0].digest, self.pool.images[1].digest

    def at(self, event, start, end=None, ok=True):
        event.start, event.end, event.state = self.now + start, self.now + (end or start + 0.01), "done" if ok else "void"
        return event

    def push(self, digest, start, tag=None):
        event = self.at(self.ledger.put("r", digest), start)
        if tag:
            self.at(self.ledger.tag("r", tag, digest), start)
        return event

    def values(self, tag, start, end=None):
        return self.ledger.tag_values("r", tag, self.now + start, self.now + (end or start + 0.01))

    def covered(self, digest, start):
        return self.ledger.covered("r", digest, self.now + start, self.now + start + 0.01)

    def there(self, digest, start):
        return self.ledger.may_be_there("r", digest, self.now + start, self.now + start + 0.01)

    def test_a_tag_means_the_last_certain_write(self):
        self.assertEqual(self.values("t", 0), {None})
        self.push(self.image, 1, "t")
        self.push(self.other, 2, "t")
        self.assertEqual(self.values("t", 3), {self.other})
        self.assertEqual(self.values("t", 1.5), {self.image})

    def test_what_overlaps_may_come_in_any_order(self):
        self.at(self.ledger.tag("r", "t", self.image), 1, 3)
        self.at(self.ledger.tag("r", "t", self.other), 2, 4)
        self.assertEqual(self.values("t", 5), {self.image, self.other})
        self.at(self.ledger.tag("r", "t", None), 6)
        self.assertEqual(self.values("t", 7), {None})

    def test_a_refused_write_is_none(self):
        self.at(self.ledger.tag("r", "t", self.image), 1, ok=False)
        self.assertEqual(self.values("t", 2), {None})

    def test_an_unanswered_write_may_be(self):
        self.push(self.image, -5, "t")
        self.ledger.tag("r", "t", self.other).start = self.now - 2
        self.assertEqual(self.values("t", -1), {self.image, self.other})
        self.ledger.broken_off()
        self.assertEqual(self.values("t", 9), {self.image, self.other})

    def test_a_manifests_delete_takes_its_tags_alone(self):
        self.push(self.image, 1, "t")
        self.push(self.other, 1, "u")
        self.at(self.ledger.delete("r", self.image), 2)
        self.assertEqual(self.values("t", 3), {None})
        self.assertEqual(self.values("u", 3), {self.other})
        self.assertFalse(self.there(self.image, 3))
        self.push(self.image, 4)
        self.assertTrue(self.there(self.image, 5))
        self.assertEqual(self.values("t", 5), {None})

    def test_leases(self):
        self.push(self.image, 1)
        self.assertTrue(self.covered(self.image, 5))
        self.assertFalse(self.covered(self.image, 6))
        self.ledger.confirm("r", self.image, At(self.now + 5, self.now + 5.1))
        self.assertTrue(self.covered(self.image, 7))
        self.assertFalse(self.covered(self.image, 7.5))
        self.at(self.ledger.delete("r", self.image), 6)
        self.assertFalse(self.covered(self.image, 6.5))

    def test_a_tag_holds_everything_below(self):
        index = self.pool.indexes[0]
        image = self.pool.manifests[index.children[0]]
        for digest in image.blobs:
            self.push(digest, 1)
        self.push(image.digest, 2)
        self.push(index.digest, 3, "t")
        for digest in (index.digest, image.digest, *image.blobs):
            self.assertTrue(self.covered(digest, 100), digest)
        self.at(self.ledger.tag("r", "t", None), 101)
        self.assertTrue(self.covered(image.blobs[0], 105))
        self.assertFalse(self.covered(image.blobs[0], 107))

    def test_a_deleted_part_is_not_held(self):
        index = self.pool.indexes[0]
        self.push(index.children[0], 1)
        self.push(index.digest, 2, "t")
        self.at(self.ledger.delete("r", index.children[0]), 3)
        self.assertFalse(self.covered(index.children[0], 4))
        self.push(index.children[0], 5)
        self.assertTrue(self.covered(index.children[0], 100))

    def test_blobs_of_a_deleted_manifest_stay_for_a_lease(self):
        blob = self.pool.images[0].blobs[0]
        self.push(blob, 1)
        self.push(self.image, 2, "t")
        self.at(self.ledger.delete("r", self.image), 100)
        self.assertTrue(self.covered(blob, 104))
        self.assertFalse(self.covered(blob, 106))

    def test_a_referrer_lives_with_its_subject(self):
        artifact = self.pool.artifacts[0]
        self.push(artifact.subject, 1, "t")
        self.push(artifact.digest, 2)
        self.assertTrue(self.covered(artifact.digest, 100))
        # The subject was away and came again: the referrer may be gone.
        self.at(self.ledger.tag("r", "t", None), 101)
        self.push(artifact.subject, 120, "t")
        self.assertFalse(self.covered(artifact.digest, 121))

    def test_after_a_restart(self):
        self.push(self.image, 1, "t")
        event = self.ledger.tag("r", "t", self.other)
        event.start = self.now + 2
        self.ledger.broken_off()
        self.ledger.settle_tag("r", "t", self.other, At(self.now + 10, self.now + 10.1))
        self.ledger.settle_item("r", self.other, True, At(self.now + 10, self.now + 10.1))
        self.ledger.settle_item("r", self.image, False, At(self.now + 10, self.now + 10.1))
        self.assertEqual(self.values("t", 11), {self.other})
        self.assertTrue(self.covered(self.other, 11))
        self.assertFalse(self.there(self.image, 11))

    def test_forgetting_changes_nothing(self):
        self.now -= 1000
        for n in range(40):
            self.push(self.image if n % 2 else self.other, n, "t")
        self.at(self.ledger.delete("r", self.image), 50)
        for n in range(40):
            self.at(self.ledger.tag("r", "u", self.image), 60 + n)
            self.at(self.ledger.tag("r", "t", None), 60 + n, ok=False)
        self.assertEqual(self.values("t", 900), {None})
        self.assertEqual(self.values("u", 900), {self.image})
        self.assertTrue(all(len(events) < 15 for events in self.ledger.tags.values()))


if __name__ == "__main__":
    unittest.main()
