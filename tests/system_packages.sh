#!/usr/bin/env bash
# Debian packages that the browser and napari tests need. Installed where that is allowed (root, or
# sudo without a password); elsewhere one line says what is missing, and those tests skip by name.
set -u
packages=(chromium xvfb libgl1 libegl1 libgl1-mesa-dri libxkbcommon-x11-0 libdbus-1-3 libxcb-cursor0
  libxcb-icccm4 libxcb-image0 libxcb-keysyms1 libxcb-randr0 libxcb-render-util0 libxcb-shape0
  libxcb-xinerama0 libxcb-xkb1 fonts-dejavu-core)
command -v dpkg-query >/dev/null || {
  command -v Xvfb >/dev/null || echo "Not a Debian system: for all tests install chromium, Xvfb, Mesa GL and the xcb libraries of Qt yourself."
  exit 0
}
missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0
if [ "$(id -u)" -eq 0 ]; then
  as=()
elif sudo -n true 2>/dev/null; then
  as=(sudo -n)
else
  echo "Missing system packages: ${missing[*]}. Install them with: sudo apt-get install ${missing[*]} (tests that need them skip)."
  exit 0
fi
echo "Installing system packages: ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
if ! { "${as[@]}" apt-get update -qq && "${as[@]}" apt-get install -y -qq "${missing[@]}"; } >/tmp/hrviz-apt.log 2>&1; then
  echo "Could not install ${missing[*]} (see /tmp/hrviz-apt.log); tests that need them skip."
fi
exit 0
