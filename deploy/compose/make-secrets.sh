#!/bin/sh
# Writes new secrets for compose.yaml into a folder: passwords, URLs with them, and a certificate of a CA of its own.
#   make-secrets.sh secrets
# The folder is for its owner alone. Its files are readable for all, since each container reads them as another user.
set -eu
umask 077

folder=${1:?the folder for the secrets}
if [ -e "$folder" ]; then
    echo "make-secrets.sh: $folder exists; secrets in use are not replaced" >&2
    exit 1
fi
mkdir -p "$folder"
cd "$folder"

password() { openssl rand -hex 24; }

for name in postgres owner app backup monitor redis grafana; do
    password >"${name}_password"
done
password >api-key # of Prometheus; the callers have the other one, so that each can be replaced alone
echo "$(password),$(cat api-key)" >api_keys
verified="sslmode=verify-full&sslrootcert=/run/secrets/ca_crt"
app=$(cat app_password) owner=$(cat owner_password) redis=$(cat redis_password)
at=sentinel-1:26379,sentinel-2:26379,sentinel-3:26379/mymaster/0
trusted=ssl_ca_certs=/run/secrets/ca_crt
echo "postgresql://agentexec_app:$app@pgbouncer:6432/agentexec?$verified" >database_url
echo "postgresql://agentexec_owner:$owner@postgres:5432/agentexec?$verified" >owner_database_url
echo "rediss+sentinel://:$redis@$at?sentinel_password=$redis&$trusted" >redis_url
echo "{\"rediss://redis-primary:6379\": \"$redis\"}" >redis_exporter_passwords
echo "\"agentexec_app\" \"$app\"" >pgbouncer_users

names=DNS:localhost,IP:127.0.0.1
for host in postgres pgbouncer redis-primary redis-replica sentinel-1 sentinel-2 sentinel-3; do
    names=$names,DNS:$host
done
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 3650 -subj "/CN=agentexec CA" \
    -keyout ca_key -out ca_crt 2>/dev/null
openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj "/CN=agentexec" \
    -keyout server_key -out server.csr 2>/dev/null
printf 'subjectAltName = %s\nextendedKeyUsage = serverAuth, clientAuth\n' "$names" >server.ext
openssl x509 -req -in server.csr -CA ca_crt -CAkey ca_key -CAcreateserial -days 825 -extfile server.ext \
    -out server_crt 2>/dev/null
rm server.csr server.ext ./*.srl
chmod 444 ./*
chmod 400 ca_key
echo "wrote the secrets into $folder"
