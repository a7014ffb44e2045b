#!/usr/bin/env bash
# Brings the dashboards into Grafana, by its HTTP API. Needs bash and curl.
set -euo pipefail

usage() {
    cat <<'TEXT'
usage: import_dashboards.sh [OPTION…] [DASHBOARD…]

Brings dashboards into Grafana: all of them, or those that are named, such as gpu_performance or a
path to a file.

  --url URL        where Grafana is; by default $GRAFANA_URL, or http://localhost:3000
  --folder UID     the folder to put them into; it is made if it is not there
  --no-overwrite   leave a dashboard alone that is there already, and say so
  --dry-run        say what would be done, and do nothing
  --help           this text

Who you are is read from the environment: GRAFANA_TOKEN, the token of a service account, or
GRAFANA_USER and GRAFANA_PASSWORD, by default admin and admin.

Exit codes: 0, 1 when something could not be imported, 2 for wrong usage.
TEXT
}

wrong() {
    printf 'import_dashboards.sh: %s\n' "$1" >&2
    printf 'Try --help.\n' >&2
    exit 2
}

fail() {
    printf 'import_dashboards.sh: %s\n' "$1" >&2
    exit 1
}

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
url=${GRAFANA_URL:-http://localhost:3000}
folder=
overwrite=true
dry=false
wanted=()
while (($#)); do
    case $1 in
        --url | --folder)
            [[ $# -gt 1 && -n $2 ]] || wrong "$1 needs a value"
            if [[ $1 == --url ]]; then url=$2; else folder=$2; fi
            shift
            ;;
        --no-overwrite) overwrite=false ;;
        --dry-run) dry=true ;;
        --help | -h)
            usage
            exit 0
            ;;
        -*) wrong "there is no option $1" ;;
        *) wanted+=("$1") ;;
    esac
    shift
done
url=${url%/}
authority=${url#*://}
# Not shown: there may be a password in it, which curl's arguments would show as well.
[[ ${authority%%[/?#]*} != *@* ]] || wrong 'there is a user in the URL: say it by GRAFANA_USER and GRAFANA_PASSWORD'
[[ $url == http://* || $url == https://* ]] || wrong "the URL begins with neither http:// nor https://: $url"
# What becomes part of JSON and of an address needs no escapes this way; Grafana allows no others.
[[ $folder =~ ^[A-Za-z0-9_-]{0,40}$ ]] || wrong "a folder's UID has at most 40 letters, digits, - and _: $folder"

for secret in "${GRAFANA_TOKEN:-}" "${GRAFANA_USER:-}" "${GRAFANA_PASSWORD:-}"; do
    [[ $secret != *$'\n'* ]] || wrong "the token, the user or the password has a line break"
done

files=()
if ((${#wanted[@]} == 0)); then
    files=("$root"/dashboards/*.json)
    [[ -e ${files[0]} ]] || fail "there is no dashboard in $root/dashboards"
else
    for name in "${wanted[@]}"; do
        if [[ -f $name ]]; then
            files+=("$name")
        elif [[ -f $root/dashboards/${name%.json}.json ]]; then
            files+=("$root/dashboards/${name%.json}.json")
        else
            known=$(cd "$root/dashboards" && printf '%s ' *.json)
            wrong "there is no dashboard $name; there are ${known//.json/}"
        fi
    done
fi

# Secrets go to curl by its standard input: its arguments could be read by everybody.
credentials() {
    local value
    if [[ -n ${GRAFANA_TOKEN:-} ]]; then
        value="header = \"Authorization: Bearer $(escaped "$GRAFANA_TOKEN")\""
    else
        value="user = \"$(escaped "${GRAFANA_USER:-admin}"):$(escaped "${GRAFANA_PASSWORD:-admin}")\""
    fi
    printf '%s\n' "$value"
}

# A text between quotes in curl's configuration.
escaped() {
    local text=${1//\\/\\\\}
    printf '%s' "${text//\"/\\\"}"
}

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
answer=$scratch/answer
body=$scratch/body
errors=$scratch/errors

# Calls the API: method, path, and a file with the body or nothing. Sets `status`; the answer is in
# the file `answer`.
status=
call() {
    # First: no configuration of the user's own.
    local arguments=(-q --silent --show-error --config - --request "$1" --output "$answer"
        --write-out '%{http_code}' --connect-timeout 10 --max-time 60
        --header 'Accept: application/json')
    if [[ -n ${3:-} ]]; then
        arguments+=(--header 'Content-Type: application/json' --data-binary "@$3")
    fi
    local said
    # What an earlier call was answered is no answer to this one.
    : >"$answer"
    if ! said=$(credentials | curl "${arguments[@]}" "$url$2" 2>"$errors"); then
        fail "Grafana cannot be reached at $url: $(tr '\n' ' ' <"$errors")"
    fi
    status=$said
    case $status in
        401) fail "Grafana at $url does not know who you are (401): set GRAFANA_TOKEN, or GRAFANA_USER and GRAFANA_PASSWORD" ;;
        403) fail "Grafana at $url does not allow it (403): the account needs the role Editor, and for a new folder the right to make one" ;;
    esac
}

# What Grafana said, on one line.
message() {
    local text
    text=$(tr -d '\n' <"$answer")
    if [[ $text =~ \"message\":[[:space:]]*\"([^\"]*)\" ]]; then
        text=${BASH_REMATCH[1]}
    fi
    printf '%s' "${text:0:300}"
}

if [[ -n $folder ]] && ! $dry; then
    call GET "/api/folders/$folder"
    if [[ $status == 404 ]]; then
        printf '{"uid":"%s","title":"%s"}' "$folder" "$folder" >"$body"
        call POST /api/folders "$body"
        [[ $status == 200 ]] || fail "the folder $folder could not be made ($status): $(message)"
        printf 'made the folder %s\n' "$folder"
    elif [[ $status != 200 ]]; then
        fail "the folder $folder could not be looked up ($status): $(message)"
    fi
fi

failed=0
for file in "${files[@]}"; do
    name=$(basename "$file" .json)
    if $dry; then
        printf 'would import %s into %s%s\n' "$name" "$url" "${folder:+, folder $folder}"
        continue
    fi
    {
        printf '{"dashboard":'
        cat "$file"
        printf ',"folderUid":"%s","overwrite":%s,"message":"import_dashboards.sh"}' "$folder" "$overwrite"
    } >"$body"
    call POST /api/dashboards/db "$body"
    case $status in
        200) printf 'imported %s\n' "$name" ;;
        400 | 422)
            printf 'import_dashboards.sh: Grafana says that %s is invalid (%s): %s\n' "$name" "$status" "$(message)" >&2
            failed=1
            ;;
        404)
            fail "there is no Grafana at $url (404): is a path missing in the URL?"
            ;;
        412)
            printf 'import_dashboards.sh: %s is there already (412): %s\n' "$name" "$(message)" >&2
            failed=1
            ;;
        *)
            printf 'import_dashboards.sh: %s could not be imported (%s): %s\n' "$name" "$status" "$(message)" >&2
            failed=1
            ;;
    esac
done
exit "$failed"
