#!/bin/sh
# Makes the keys, certificates and signatures of this folder with OpenSSL 3, an implementation other than the one under test.
# Test keys: they protect nothing. Run it again only to replace everything.
set -eu
cd "$(dirname "$0")"
openssl ecparam -name prime256v1 -genkey -noout -out ca.sec1.key
openssl req -x509 -new -key ca.sec1.key -subj "/O=Example/CN=Test CA" -days 36500 -sha256 -out ca.pem \
  -addext "basicConstraints=critical,CA:TRUE" -addext "keyUsage=critical,keyCertSign,cRLSign"
cat > leaf.cnf <<'END'
basicConstraints = critical,CA:FALSE
keyUsage = critical,digitalSignature
extendedKeyUsage = serverAuth,clientAuth
subjectAltName = DNS:gw.example.test,email:carol@example.test,IP:192.0.2.7,IP:2001:db8::7
END
openssl genrsa -traditional -out rsa2048.pkcs1.key 2048
openssl genrsa -traditional -out rsa3072.pkcs1.key 3072
openssl genrsa -traditional -out rsa1024.pkcs1.key 1024
openssl ecparam -name prime256v1 -genkey -noout -out p256.sec1.key
openssl ecparam -name secp384r1 -genkey -noout -out p384.sec1.key
openssl ecparam -name secp521r1 -genkey -noout -out p521.sec1.key
openssl genpkey -algorithm ed25519 -out ed25519.pkcs8.key
printf 'what is signed: a message, a nonce and a MAC' > signed.bin
: > signatures.txt
for name in rsa2048 rsa3072 rsa1024 p256 p384 p521 ed25519; do
  [ "$name" = ed25519 ] || openssl pkcs8 -topk8 -nocrypt -in $name.*1.key -out $name.pkcs8.key
  openssl req -new -key $name.pkcs8.key -subj "/O=Example/CN=carol@example.test" -out leaf.csr
  openssl x509 -req -in leaf.csr -CA ca.pem -CAkey ca.sec1.key -days 36500 -sha256 -extfile leaf.cnf -set_serial 1 -out $name.pem
  for hash in sha1 sha256 sha384 sha512; do
    case $name in
      rsa1024) ;; # too short to be used at all
      rsa*)
        openssl dgst -$hash -sign $name.pkcs8.key -out sig signed.bin
        echo "$name pkcs1-$hash $(od -An -v -tx1 sig | tr -d ' \n')" >> signatures.txt
        openssl dgst -$hash -sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:-1 -sign $name.pkcs8.key -out sig signed.bin
        echo "$name pss-$hash $(od -An -v -tx1 sig | tr -d ' \n')" >> signatures.txt ;;
      p*)
        openssl dgst -$hash -sign $name.pkcs8.key -out sig signed.bin
        echo "$name ecdsa-$hash $(od -An -v -tx1 sig | tr -d ' \n')" >> signatures.txt ;;
    esac
  done
  if [ "$name" = ed25519 ]; then
    openssl pkeyutl -sign -rawin -inkey $name.pkcs8.key -in signed.bin -out sig
    echo "$name ed25519 $(od -An -v -tx1 sig | tr -d ' \n')" >> signatures.txt
  fi
done
openssl x509 -in ca.pem -noout -pubkey | openssl pkey -pubin -outform DER | openssl dgst -sha1 -r | cut -d' ' -f1 > ca.hash
rm -f sig leaf.csr leaf.cnf
