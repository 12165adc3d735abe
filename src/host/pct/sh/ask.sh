# The same by asking `pct`, where the configurations cannot be read: slow, several calls a
# container. $@: the containers that are wanted; none: all.
list=$(timeout 120 pct list) || exit 1
printf 'list\0%s\0' "$list"
wanted=" $* "
printf '%s\n' "$list" | while read -r id rest; do
    case $id in *[!0-9]* | '') continue ;; esac
    case $wanted in '  ' | *" $id "*) ;; *) continue ;; esac
    printf 'container\0%s\0' "$id"
    printf 'current\0%s\0' "$(timeout 60 pct config "$id" --current 2>/dev/null)"
    printf 'pending\0%s\0' "$(timeout 60 pct pending "$id" 2>/dev/null)"
    timeout 60 pct listsnapshot "$id" 2>/dev/null | while read -r arrow name rest; do
        [ "$name" != current ] || continue
        printf 'snapshot\0%s\0' "$name"
        printf 'config\0%s\0' "$(timeout 60 pct config "$id" --snapshot "$name" 2>/dev/null)"
    done
done
printf 'end\0\0'
