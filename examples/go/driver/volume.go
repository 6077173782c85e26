package driver

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
)

// Directories are directories of this machine that the host keeps for the plugin, by any key.
type Directories interface {
	CreateDirectory(key string, mode uint32) (Directory, error)
	// OpenDirectory fails with ErrNoDirectory if there is none.
	OpenDirectory(key string) (Directory, error)
	RemoveDirectory(key string) error
}

// Directory is one of them. Only the host can make one.
type Directory interface {
	Key() string
}

// ErrNoDirectory says that there is no directory of that key.
var ErrNoDirectory = errors.New("there is no such directory")

// Volume keeps volumes as directories.
type Volume struct {
	Host
}

// VolumeInfo is what `docker volume inspect` shows. The directory can be nil.
type VolumeInfo struct {
	Name      string
	Directory Directory
	Status    map[string]string
}

// volume is what is remembered of one.
type volume struct {
	Mode uint32 `json:"mode"`
}

var octal = regexp.MustCompile(`^[0-7]{3,4}$`)

// Create makes a volume: `docker volume create -o mode=0750`.
func (d Volume) Create(name string, options map[string]string) error {
	wanted, err := parse(options)
	if err != nil {
		return err
	}
	known, err := d.volumes().get(name)
	switch {
	case err != nil:
		return err
	case known != nil && *known == wanted:
		return nil
	case known != nil:
		return fail(AlreadyExists, "volume %q exists already, with other options", name)
	}
	if _, err := d.CreateDirectory(name, wanted.Mode); err != nil {
		return err
	}
	d.Log("volume", "created "+name)
	return d.volumes().put(name, wanted)
}

// Remove of a volume that does not exist succeeds.
func (d Volume) Remove(name string) error {
	known, err := d.volumes().get(name)
	if known == nil || err != nil {
		return err
	}
	if err := d.RemoveDirectory(name); err != nil && !errors.Is(err, ErrNoDirectory) {
		return err
	}
	return d.volumes().delete(name)
}

// Mount returns where the volume's files are. The host counts the uses.
func (d Volume) Mount(name, id string) (Directory, error) {
	directory, err := d.Path(name)
	if err == nil && directory == nil {
		err = fail(Unavailable, "the directory of volume %q is gone from this machine", name)
	}
	return directory, err
}

// Unmount has nothing to do.
func (d Volume) Unmount(name, id string) error {
	return nil
}

// Get describes a volume. NotFound makes Docker forget it: it is said only of a volume that is known not to exist.
func (d Volume) Get(name string) (VolumeInfo, error) {
	known, err := d.find(name)
	if err != nil {
		return VolumeInfo{}, err
	}
	directory, err := d.directory(name)
	status := map[string]string{"mode": fmt.Sprintf("%04o", known.Mode)}
	return VolumeInfo{Name: name, Directory: directory, Status: status}, err
}

// List returns all volumes.
func (d Volume) List() ([]VolumeInfo, error) {
	names, err := d.volumes().keys()
	var volumes []VolumeInfo
	for _, name := range names {
		volumes = append(volumes, VolumeInfo{Name: name})
	}
	return volumes, err
}

// Path returns the volume's directory, or nil if somebody removed it from the machine.
func (d Volume) Path(name string) (Directory, error) {
	if _, err := d.find(name); err != nil {
		return nil, err
	}
	return d.directory(name)
}

func (d Volume) volumes() table[volume] {
	return table[volume]{d.Host, "volumes/"}
}

func (d Volume) find(name string) (*volume, error) {
	known, err := d.volumes().get(name)
	if known == nil && err == nil {
		err = fail(NotFound, "there is no volume %q", name)
	}
	return known, err
}

func (d Volume) directory(name string) (Directory, error) {
	directory, err := d.OpenDirectory(name)
	if errors.Is(err, ErrNoDirectory) {
		return nil, nil
	}
	return directory, err
}

func parse(options map[string]string) (volume, error) {
	mode := "0755"
	for name, value := range options {
		if name != "mode" {
			return volume{}, fail(InvalidArgument, "there is no option %s: this driver has mode", name)
		}
		mode = value
	}
	if !octal.MatchString(mode) {
		return volume{}, fail(InvalidArgument, "option mode=%s: say permissions in octal, such as 0750", mode)
	}
	number, err := strconv.ParseUint(mode, 8, 32)
	return volume{Mode: uint32(number)}, err
}
