package auth

// BeforeLooks has a function called in each look, before the directory is read and after.
func (k *Keys) BeforeLooks(before, after func()) {
	k.read = func(dir string, known keySet) (keySet, error) {
		before()
		defer after()
		return readKeys(dir, known)
	}
}
