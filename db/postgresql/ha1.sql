-- No plain password in the database: auth_ha1 gets H(username:realm:password), auth_password is emptied. Rows without a
-- realm keep their password, because an HA1 is of one realm. An auth_ha1 that is there already stays. There is no way
-- back: keep the passwords elsewhere. Any number of times: psql -d trunks -f db/postgresql/ha1.sql

-- Carriers that offer SHA-256 and no MD5: name their realms and run this first. An MD5 HA1 is of no use to them.
--
-- UPDATE uacreg
--    SET auth_ha1 = encode(sha256(convert_to(auth_username || ':' || realm || ':' || auth_password, 'UTF8')), 'hex'),
--        auth_password = ''
--  WHERE realm IN ('carrier.example') AND auth_username <> '' AND auth_password <> '' AND auth_ha1 = '';

UPDATE uacreg
   SET auth_ha1 = CASE
           WHEN auth_ha1 = '' THEN md5(convert_to(auth_username || ':' || realm || ':' || auth_password, 'UTF8'))
           ELSE auth_ha1
       END,
       auth_password = ''
 WHERE realm <> '' AND auth_username <> '' AND auth_password <> '';
