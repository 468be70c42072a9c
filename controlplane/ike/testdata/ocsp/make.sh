#!/bin/sh
# Makes the certificates and OCSP answers of this folder with OpenSSL 3, an implementation other than the one under test.
# The keys are thrown away. Run it again only to replace everything.
set -eu
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -r "$work"' EXIT
for ca in ca other; do # The same name, another key.
  openssl ecparam -name prime256v1 -genkey -noout -out "$work/$ca.key"
  openssl req -x509 -new -key "$work/$ca.key" -days 36500 -subj "/O=Example/CN=OCSP CA" -addext keyUsage=critical,keyCertSign,cRLSign \
    -outform pem -out "$work/$ca.pem"
done
leaf() {
  openssl ecparam -name prime256v1 -genkey -noout -out "$work/$1.key"
  printf "$3" > "$work/extensions"
  openssl req -new -key "$work/$1.key" -subj "/O=Example/CN=$1" | openssl x509 -req -CA "$work/ca.pem" -CAkey "$work/ca.key" \
    -days 36500 -set_serial "$2" -extfile "$work/extensions" -out "$work/$1.pem"
}
leaf good 0x1001 "subjectAltName=email:good@example.test
authorityInfoAccess=OCSP;URI:http://192.0.2.1:8888/ocsp,OCSP;URI:https://192.0.2.1/,caIssuers;URI:http://192.0.2.1/ca
crlDistributionPoints=URI:http://192.0.2.1/a.crl,URI:ldap://192.0.2.1/x"
leaf revoked 0x9002 "subjectAltName=email:revoked@example.test"
leaf responder 0x1003 "extendedKeyUsage=OCSPSigning
keyUsage=digitalSignature"
leaf plain 0x1004 "keyUsage=digitalSignature"
printf 'V\t20991231000000Z\t\t1001\tunknown\t/CN=good\nR\t20991231000000Z\t260101000000Z\t9002\tunknown\t/CN=revoked\n' > "$work/index"
ask() { # certificate signer answer days
  openssl ocsp -issuer "$work/ca.pem" -cert "$work/$1.pem" -no_nonce -reqout "$work/request"
  openssl ocsp -index "$work/index" -CA "$work/ca.pem" -rsigner "$work/$2.pem" -rkey "$work/$2.key" -reqin "$work/request" \
    -respout "$3.der" -ndays "$4"
}
ask good ca good-by-issuer 36500
ask good responder good-by-responder 36500
ask good plain good-by-anybody 36500
ask good other good-by-other 36500
ask good ca good-old 1
ask revoked ca revoked 36500
ask plain ca unknown 36500
openssl ocsp -issuer "$work/ca.pem" -cert "$work/good.pem" -no_nonce -reqout good.req.der
for name in ca good revoked; do openssl x509 -in "$work/$name.pem" -outform der -out $name.cer; done
