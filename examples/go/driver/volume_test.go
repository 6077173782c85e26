package driver

import "testing"

type directoriesDouble struct{ directories map[string]bool }

type directory string

func (d directory) Key() string { return string(d) }

func (d *directoriesDouble) Log(context, message string) {}

func (d *directoriesDouble) CreateDirectory(key string, mode uint32) (Directory, error) {
	if d.directories == nil {
		d.directories = map[string]bool{}
	}
	d.directories[key] = true
	return directory(key), nil
}

func (d *directoriesDouble) OpenDirectory(key string) (Directory, error) {
	if !d.directories[key] {
		return nil, ErrNoDirectory
	}
	return directory(key), nil
}

func (d *directoriesDouble) RemoveDirectory(key string) error {
	if !d.directories[key] {
		return ErrNoDirectory
	}
	delete(d.directories, key)
	return nil
}

func TestAVolumeLivesFromCreateToRemove(t *testing.T) {
	host := &double{}
	driver := Volume{host}
	for _, mode := range []string{"0750", "750"} {
		succeeds(t, driver.Create("data", map[string]string{"mode": mode}))
	}
	succeeds(t, driver.Create("other", nil))
	mounted, err := driver.Mount("data", "container")
	succeeds(t, err)
	succeeds(t, driver.Unmount("data", "container"))
	info, err := driver.Get("data")
	succeeds(t, err)
	if mounted.Key() != "data" || info.Name != "data" || info.Directory != mounted || info.Status["mode"] != "0750" {
		t.Errorf("mounted %v, and got %+v", mounted, info)
	}
	list, err := driver.List()
	succeeds(t, err)
	if len(list) != 2 || list[0].Name != "data" {
		t.Errorf("listed %+v", list)
	}
	for _, name := range []string{"data", "data", "other"} {
		succeeds(t, driver.Remove(name))
	}
	_, err = driver.Get("data")
	failsWith(t, NotFound, err)
	if len(host.state)+len(host.directories) != 0 {
		t.Errorf("%v and %v remain", host.state, host.directories)
	}
}

func TestTheSameNameWithOtherOptionsIsAnError(t *testing.T) {
	driver := Volume{&double{}}
	succeeds(t, driver.Create("data", map[string]string{"mode": "0750"}))
	failsWith(t, AlreadyExists, driver.Create("data", map[string]string{"mode": "0700"}))
}

func TestAnOptionThatMakesNoSenseIsRefused(t *testing.T) {
	driver := Volume{&double{}}
	failsWith(t, InvalidArgument, driver.Create("data", map[string]string{"size": "1g"}))
	for _, mode := range []string{"", "rwx", "0o755", "77777", "-1", "758"} {
		failsWith(t, InvalidArgument, driver.Create("data", map[string]string{"mode": mode}))
	}
}

func TestADirectoryThatIsGoneDoesNotMakeDockerForgetTheVolume(t *testing.T) {
	host := &double{}
	driver := Volume{host}
	succeeds(t, driver.Create("data", nil))
	clear(host.directories)
	info, err := driver.Get("data")
	succeeds(t, err)
	if info.Directory != nil {
		t.Errorf("the directory is %v", info.Directory)
	}
	_, err = driver.Mount("data", "container")
	failsWith(t, Unavailable, err)
	succeeds(t, driver.Remove("data"))
}
