package rules

// lockDay is a day in ms.
const lockDay = 24 * 60 * 60 * 1000

// LockEnded tells whether a lock of the settings that lasts until the given ms may be taken at now by one who wants it until
// expires. A lock that ends more than a day, and more than twice as far as was asked for, ahead was taken while a clock was
// wrong: waiting for it could mean waiting for years.
func LockEnded(until, now, expires int64) bool {
	return until <= now || until-now > max(lockDay, 2*(expires-now))
}
