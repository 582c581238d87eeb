# The certificates of the secured servers and of their clients: made once, for loopback, good for ten years.
#   ca.pem                       the authority of all of them
#   server.pem, server.key       what the servers show: 127.0.0.1 and localhost
#   client.pem, client.key       what a client shows: CN=flotilla
#   expired.pem                  the same client, too late
#   other-ca.pem                 an authority that signed nothing of it
# shellcheck shell=bash disable=SC2154

certificates=$state/certificates

# What clients of the secured servers say; the password is in a file beside the certificates too.
secured_user=flotilla
secured_password=a-password-of-the-development-servers

new_key() { quietly openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1"; }

# authority NAME: a key and a certificate that may sign others.
authority() {
  new_key "$1.key"
  openssl req -x509 -new -key "$1.key" -subj "/CN=flotilla development $1" -days 3650 -out "$1.pem" \
    -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign
}

# signed NAME KEY SUBJECT DAYS USE [NAMES]: a certificate by the authority.
signed() {
  {
    echo "basicConstraints=critical,CA:FALSE"
    echo "extendedKeyUsage=$5"
    if [ -n "${6:-}" ]; then echo "subjectAltName=$6"; fi
  } >extensions
  openssl req -new -key "$2" -subj "$3" -out request
  quietly openssl x509 -req -in request -CA ca.pem -CAkey ca.key -set_serial "0x$(openssl rand -hex 8)" -days "$4" \
    -extfile extensions -out "$1"
  rm extensions request
}

make_certificates() (
  [ ! -e "$certificates/made" ] || return 0
  rm -rf "$certificates"
  (umask 077 && mkdir -p "$certificates")
  cd "$certificates"
  authority ca
  authority other-ca
  new_key server.key
  signed server.pem server.key "/CN=localhost" 3650 serverAuth,clientAuth "DNS:localhost,IP:127.0.0.1"
  new_key client.key
  signed client.pem client.key "/CN=$secured_user" 3650 clientAuth
  signed expired.pem client.key "/CN=$secured_user" -1 clientAuth
  # What the Java servers read: key and chain in one file.
  cat server.key server.pem >server-both.pem
  (umask 077 && echo "$secured_password" >password)
  touch made
)
